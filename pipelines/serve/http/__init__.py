"""What stands between the network and the model: connections, who may ask, how much, and in which form it is answered."""
