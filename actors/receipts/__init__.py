"""What several kinds and the importer know about receipts: amounts, currencies, days and files as people write them."""
