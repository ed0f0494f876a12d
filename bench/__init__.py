"""What is measured, against whom. Not run by the tests."""
