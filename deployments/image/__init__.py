"""Build the image of the Dockerfile and run compose.yaml's commands in it: `python -m deployments.image`.

On a stand-in for its base image, made of Debian's packages, where no registry of images can be reached.
"""
