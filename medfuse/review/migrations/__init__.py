"""Alembic's migrations of the reviews' database; `medfuse.review.migrate` runs them.

env.py      how Alembic gets at the connection
versions/   one module a step, each frozen once released
"""
