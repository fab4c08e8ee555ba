"""The parts of the report that belong to one kind of stage, each a function from a lineage to what its template shows.

A section that finds nothing returns None and is left out. What a stage writes into stats.json is all that is read.
"""
