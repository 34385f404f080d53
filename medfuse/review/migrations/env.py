"""What Alembic runs to migrate: it works on the connection that `medfuse.review.migrate` opened."""

from alembic import context


def run() -> None:
    """Migrate in the transaction that is already open."""
    context.configure(connection=context.config.attributes["connection"])
    with context.begin_transaction():
        context.run_migrations()


run()
