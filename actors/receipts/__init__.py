"""Shared by several kinds and the importer: amounts, currencies, days and files as people write them."""
