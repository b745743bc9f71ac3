"""The server of a model package: OpenAI's routes over one decoder (``app``, ``engine``, ``openai_types``, ``run``)."""
