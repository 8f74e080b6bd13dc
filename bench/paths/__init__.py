"""The path family beside what a user would pick instead."""
