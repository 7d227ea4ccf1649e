"""Model and index -> an assistant that answers with checked citations."""
