"""What can be wrong with data before anything is trained on it.

Labels that show where they should not, rows of one thing in two splits, inputs that do
not belong together.
"""
