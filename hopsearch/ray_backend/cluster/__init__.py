"""The Ray cluster: started on this machine or joined, how large it can grow, and AWS's node
provider.
"""
