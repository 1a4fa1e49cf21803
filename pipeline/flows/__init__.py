"""The stage graph as a Prefect flow: what is stale, side by side, on the devices of this machine."""
