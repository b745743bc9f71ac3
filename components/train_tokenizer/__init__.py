"""``train_tokenizer``: a SentencePiece tokenizer learnt on a weighted sample of documents."""
