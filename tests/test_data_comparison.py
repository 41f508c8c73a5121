"""Which data a study may go on with: the same contents under any name, and by names and sizes where
an older version began it.
"""

import shutil
from pathlib import Path

import pytest

from hopsearch import train
from hopsearch.core.errors import StudyError
from hopsearch.data import DataConfig, accepted_by_names, data_difference, data_identity, load
from hopsearch.space import Space
from hopsearch.study import Identity, Study, StudyView
from tests.conftest import SPACE
from tests.layouts import photographs


def asked(source: object, **words) -> dict:
    config = DataConfig(source=str(source), image_size=8, **words)
    return data_identity(config, load(config).facts)


def study_of(data: dict) -> Identity:
    return Identity("photos", Space.from_dict(SPACE), data, "default", {}, 0)


@pytest.fixture
def photos(tmp_path) -> Path:
    photographs(tmp_path / "photos" / "train")
    photographs(tmp_path / "photos" / "test")
    return tmp_path / "photos"


def test_another_spelling_and_a_copy_are_the_same_study(photos, tmp_path):
    with Study(tmp_path / "runs" / "photos", study_of(asked(photos)), "random", "asha"):
        pass
    begun = StudyView.open(tmp_path / "runs" / "photos").identity
    assert set(begun.data) == {"source", "image_size", "fingerprint"}, (
        "nothing for comparing with older studies is stored"
    )
    shutil.move(photos, tmp_path / "moved")
    (tmp_path / "link").symlink_to("moved")
    for spelling in ("moved", "moved/", "moved/../moved", "link"):
        study_of(asked(f"{tmp_path}/{spelling}")).require_same(begun, "here")
    assert accepted_by_names(asked(tmp_path / "moved"), begun.data) == ""


def test_replaced_images_of_the_same_size_are_refused(photos, tmp_path):
    begun = study_of(asked(photos))
    for number in range(3):
        image = photos / "train" / "cat" / f"00{number}.jpg"
        contents = bytearray(image.read_bytes())
        contents[-20] ^= 1
        image.write_bytes(contents)
    now = study_of(asked(photos, memory_limit=2**29))
    with pytest.raises(StudyError, match=r"data\.fingerprint: 2:\w+ != 2:\w+"):
        now.require_same(begun, "here")


def test_a_study_of_names_and_sizes_goes_on_and_it_is_said(photos):
    now = asked(photos)
    old = {"source": str(photos), "image_size": 8, "fingerprint": now["former_fingerprint"]}
    assert not old["fingerprint"].startswith("2:")
    study_of(now).require_same(study_of(old), "here")
    assert "compared by file names and sizes" in accepted_by_names(now, old)
    with pytest.raises(StudyError, match=r"data\.fingerprint"):
        study_of(now).require_same(study_of(old | {"fingerprint": "0" * 24}), "here")


def test_a_study_that_read_val_as_its_test_part_is_refused_with_the_reason(photos):
    shutil.move(photos / "test", photos / "val")
    now = asked(photos)
    old = {"source": str(photos), "image_size": 8, "fingerprint": "0" * 24}
    assert "an older version split this folder differently" in data_difference(now, old)[-1]


def test_a_training_of_names_and_sizes_goes_on_and_it_is_said(photos, tmp_path, tiny):
    now, file = asked(photos), tmp_path / "training.json"
    assert train.require_same(file, tiny, now) == ""
    assert "former" not in file.read_text()
    assert train.require_same(file, tiny, now) == ""
    file.write_text(file.read_text().replace(now["fingerprint"], now["former_fingerprint"]))
    assert "compared by file names and sizes" in train.require_same(file, tiny, now)
    with pytest.raises(train.ConfigError, match=r"data\.fingerprint"):
        train.require_same(file, tiny, now | {"fingerprint": "2:0"})
