"""Lost and hanging workers: what ended them, and what becomes of their trials."""
