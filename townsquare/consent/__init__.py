"""Who may be used for what: grants, opt-outs, visibility, and the one gate that every build passes."""
