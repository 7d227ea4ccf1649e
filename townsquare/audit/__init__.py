"""What an auditor asks for: which weights saw which posts, and fourteen items as one signed bundle."""
