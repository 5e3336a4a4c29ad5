"""Settings of an operator that starts no function."""

from sapflow_operator.settings import Image, Settings

IMAGE = Image(name="dev.local/any:1")
SETTINGS = Settings(
    operator_image=IMAGE, worker_image=IMAGE, merger_image=IMAGE, preparer_image=IMAGE, server_image=IMAGE
)
