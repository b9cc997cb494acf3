import pytest

from ride_mm.utils import find_config, resource_root, resources


def make_tree(root):
    (root / 'configs' / 'ride').mkdir(parents=True)
    (root / 'configs' / '_base_').mkdir()
    (root / 'configs' / 'ride' / 'ride_r32_cifar100lt.py').write_text('a = 1\n')
    (root / 'configs' / '_base_' / 'cifar100lt.py').write_text('b = 1\n')
    return root


@pytest.fixture
def package(tmp_path, monkeypatch):
    package = tmp_path / 'ride_mm'
    package.mkdir()
    monkeypatch.setattr(resources, 'PACKAGE', package)
    return package


def test_the_root_of_this_repository_holds_the_resources():
    root = resource_root()
    for name in ('configs', 'tools', 'model-index.yml'):
        assert (root / name).exists(), name


def test_a_repository_is_used_without_a_wheel(package):
    make_tree(package.parent)
    assert resource_root() == package.parent


def test_the_copy_in_a_wheel_comes_first(package):
    make_tree(package.parent)
    make_tree(package / '.mim')
    assert resource_root() == package / '.mim'


def test_no_resources_is_an_error(package):
    with pytest.raises(FileNotFoundError, match='neither exists'):
        resource_root()


def test_a_config_is_found_by_name_and_by_path(package):
    make_tree(package.parent)
    config = package.parent / 'configs' / 'ride' / 'ride_r32_cifar100lt.py'
    assert find_config('ride_r32_cifar100lt') == config
    assert find_config(str(config)) == config
    assert find_config(config) == config


def test_an_unknown_name_lists_those_that_sound_alike(package):
    make_tree(package.parent)
    with pytest.raises(FileNotFoundError, match='names: ride_r32_cifar100lt'):
        find_config('ride_r23_cifar100lt')
    with pytest.raises(FileNotFoundError, match='no similar name'):
        find_config('xyz.py')


def test_a_base_is_no_config_of_its_own(package):
    make_tree(package.parent)
    with pytest.raises(FileNotFoundError, match="got 'cifar100lt'"):
        find_config('cifar100lt')
