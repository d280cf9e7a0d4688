//! PostgreSQL: binary COPY into staging tables, then upserts, all in one transaction a commit.
