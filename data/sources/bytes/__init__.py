"""From stored bytes to plain ones: archives, compression, chunks, encodings, HTTP messages."""
