"""Kinds of facts about a person, a file a theme."""
