"""What several kinds share towards the world: where we may connect to, and the secrets that we connect with."""
