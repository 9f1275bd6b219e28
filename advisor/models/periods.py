"""Hours, days and months as all money and forecasts count them: a year has 365 days."""

HOURS_PER_DAY = 24
HOURS_PER_YEAR = 8760.0
HOURS_PER_MONTH = HOURS_PER_YEAR / 12
DAYS_PER_MONTH = 365 / 12
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600
