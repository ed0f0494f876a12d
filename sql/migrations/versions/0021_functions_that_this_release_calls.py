"""No process of this release starts before `release` has created view_jobs(), show_jobs() and checkpoint_job().

The functions themselves are created by every release, after its migrations.
"""

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    pass
