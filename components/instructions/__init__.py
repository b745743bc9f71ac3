"""``instructions``: chats and preferences from documents and from a user's files."""
