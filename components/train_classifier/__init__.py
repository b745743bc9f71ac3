"""``train_classifier``: a quality classifier learnt from labelled or reference documents."""
