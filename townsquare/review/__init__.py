"""A local page on which a person looks at what curation left out, and overrules a rule for a post or an author."""
