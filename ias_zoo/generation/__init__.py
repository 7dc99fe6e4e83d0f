"""Making many samples: requests with seeds of their own, a plan cut in shards, runners, writers, verification."""
