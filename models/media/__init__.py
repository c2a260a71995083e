"""Reading what was recorded: keypoint files, videos, folders of pictures."""

from models.media.jpeg import jpeg_size
from models.media.keypoints import KEYPOINT_READERS, KeypointClip, parse_keypoints, read_keypoints
from models.media.pictures import PICTURE_SUFFIXES, read_picture_folder
from models.media.segment import VideoSegment
from models.media.stream_index import DEFAULT_LIMITS, VideoLimits
from models.media.video import VIDEO_SUFFIXES, VideoClip, parse_video, read_frames, read_video

__all__ = [
    "DEFAULT_LIMITS",
    "KEYPOINT_READERS",
    "PICTURE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "KeypointClip",
    "VideoClip",
    "VideoLimits",
    "VideoSegment",
    "jpeg_size",
    "parse_keypoints",
    "parse_video",
    "read_frames",
    "read_keypoints",
    "read_picture_folder",
    "read_video",
]
