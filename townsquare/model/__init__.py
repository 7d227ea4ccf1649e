"""The decoder, its cost arithmetic, its chat format, and its Hugging Face and GGUF forms."""
