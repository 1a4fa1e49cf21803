"""NeuroP: hypernetworks that write the weights of small networks from an intent."""
