"""Lost and hanging workers: why they ended, and what happens to their trials."""
