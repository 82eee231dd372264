"""The model that ships with Tidemill."""
