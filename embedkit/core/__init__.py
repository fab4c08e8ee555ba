"""The ground everything stands on: values, artifacts, formats and errors. Imports nothing else of embedkit's."""
