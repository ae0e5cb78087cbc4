"""From the record of a run to the causes of its failures."""
