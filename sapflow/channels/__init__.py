"""How a contribution gets from the function that writes it to the one that reads it: one channel a module.

A Ref (`sapflow.messages.refs`) names the channel; `channels.Channels` finds the member. To add one: a module with a
Channel, and a line where a call's channels are opened.
"""
