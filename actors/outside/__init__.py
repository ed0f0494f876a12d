"""For kinds that call other services: where we may connect to, and the secrets to connect with."""
