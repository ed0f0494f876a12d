"""Mailboxes and what stands in mails: reading one without changing it, and finding the receipt in a mail."""
