"""Channels carry a contribution from the function that writes it to the one that reads it. Each is a module.

A Ref (`sapflow.messages.refs`) names the channel, and `channels.Channels` finds it. A new channel is a module with a
Channel, and a line in `channels.open_channels`.
"""
