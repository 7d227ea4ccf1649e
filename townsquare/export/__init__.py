"""A run's last checkpoint as a model that others can serve: Hugging Face folder, GGUF file, card."""
