"""The sections of a report: each is made from a record, and is left out where it has nothing."""
