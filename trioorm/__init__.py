"""trioorm: PostgreSQL for structured concurrency, on Trio and asyncio."""
