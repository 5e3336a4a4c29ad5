"""The embedded runtime: functions as processes of this machine."""
