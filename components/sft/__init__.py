"""``sft``: supervised fine-tuning on chats."""
