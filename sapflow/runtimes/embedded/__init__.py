"""The embedded runtime: functions are processes on this machine."""
