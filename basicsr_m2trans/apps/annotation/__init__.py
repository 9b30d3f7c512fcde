"""Text descriptions for ultrasound images from foundation models (Sec. IV, Eq. 15-19).

Read `stages` first: the four stages as interfaces and the controls they take. `pipeline.annotate`
runs them over a folder; `segmentation`, `captioning`, `refinement`, `chat_endpoint` and `scoring`
are the stages themselves.
"""
