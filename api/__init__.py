"""The claim-records service: start reading at `app`, `cli` and `settings`."""
