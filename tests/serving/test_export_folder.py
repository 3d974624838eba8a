"""The files of `export/`: valid for the server and consistent with each other."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    json_format,
    message_factory,
    text_format,
    wrappers_pb2,
)
from imitation_server import Models, StatusError, check_batch_sizes, start_grpc, start_rest
from tensorflow_serving.config import model_server_config_pb2

from keras_s2s.client.__main__ import TranslationClient
from keras_s2s.serving.serving_protos import load_serving_api
from keras_s2s.serving.session import SavedModelSession
from keras_s2s.serving.warmup import BATCH_SIZES

ROOT = Path(__file__).parents[2]
EXPORT = ROOT / "export"
IMAGE = re.compile(r"tensorflow/serving:(2\.\d+\.\d+)")


def message_class(package, name, fields, nested=()):
    """Return the class of a message that `tensorflow-serving-api` does not contain.

    The server parses batching.config and monitoring.config with messages of its source
    (`session_bundle_config.proto`, `monitoring_config.proto`). Their fields are repeated here to
    find mistakes in these files.
    """
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto", package=package, syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )  # fmt: skip
    for message_name, message_fields in [*nested, (name, fields)]:
        message = file.message_type.add(name=message_name)
        for field_name, (number, field_type) in message_fields.items():
            field = message.field.add(name=field_name, number=number, label="LABEL_OPTIONAL")
            if field_type.startswith("repeated "):
                field.label = field.LABEL_REPEATED
                field_type = field_type.removeprefix("repeated ")
            if field_type.startswith("."):
                field.type, field.type_name = field.TYPE_MESSAGE, field_type
            else:
                field.type = getattr(field, f"TYPE_{field_type.upper()}")
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


INT64 = ".google.protobuf.Int64Value"
BatchingParameters = message_class(
    "tensorflow.serving",
    "BatchingParameters",
    {
        "max_batch_size": (1, INT64),
        "batch_timeout_micros": (2, INT64),
        "max_enqueued_batches": (3, INT64),
        "num_batch_threads": (4, INT64),
        "thread_pool_name": (5, ".google.protobuf.StringValue"),
        "allowed_batch_sizes": (6, "repeated int64"),
        "pad_variable_length_inputs": (7, "bool"),
    },
)
MonitoringConfig = message_class(
    "tensorflow.serving",
    "MonitoringConfig",
    {"prometheus_config": (1, ".tensorflow.serving.PrometheusConfig")},
    nested=[("PrometheusConfig", {"enable": (1, "bool"), "path": (2, "string")})],
)


def parse(name, message):
    return text_format.Parse((EXPORT / name).read_text(encoding="utf-8"), message)


@pytest.fixture(scope="module")
def model():
    config = parse("models.config", model_server_config_pb2.ModelServerConfig())
    [model] = config.model_config_list.config
    return model


@pytest.fixture(scope="module")
def batching():
    return parse("batching.config", BatchingParameters())


@pytest.fixture(scope="module")
def service():
    """The service of docker-compose.yml."""
    content = yaml.safe_load((EXPORT / "docker-compose.yml").read_text(encoding="utf-8"))
    [service] = content["services"].values()
    return service


@pytest.fixture(scope="module")
def manifests():
    """The objects of kubernetes/serving.yaml, by kind and name."""
    text = (EXPORT / "kubernetes" / "serving.yaml").read_text(encoding="utf-8")
    return {
        (content["kind"], content["metadata"]["name"]): content
        for content in yaml.safe_load_all(text)
    }


@pytest.fixture(scope="module")
def container(manifests):
    [container] = manifests["Deployment", "translation"]["spec"]["template"]["spec"]["containers"]
    return container


@pytest.fixture(scope="module")
def kserve():
    content = (EXPORT / "kubernetes" / "kserve.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(content)


def flags(arguments):
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


class TestServerConfiguration:
    def test_models(self, model):
        assert (model.name, model.model_platform) == ("en-fr", "tensorflow")
        assert model.base_path == f"/models/{model.name}"
        versions = list(model.model_version_policy.specific.versions)
        assert versions == [1]
        assert set(model.version_labels) == {"stable", "canary"}
        assert set(model.version_labels.values()) <= set(versions)

    def test_batching(self, batching):
        assert batching.max_batch_size.value >= max(BATCH_SIZES), "otherwise the warm-up would fail"
        sizes = list(batching.allowed_batch_sizes)
        assert sizes == sorted(set(sizes))
        assert sizes[-1] == batching.max_batch_size.value
        assert batching.batch_timeout_micros.value < 10_000
        assert 0 < batching.max_enqueued_batches.value <= 1000
        assert not batching.pad_variable_length_inputs

    def test_batch_sizes_that_disagree(self, batching):
        sizes = list(batching.allowed_batch_sizes)
        check_batch_sizes(batching.max_batch_size.value, sizes)
        with pytest.raises(StatusError) as caught:
            check_batch_sizes(2 * batching.max_batch_size.value, sizes)
        message = str(caught.value).partition(";")[0]
        guide = (EXPORT / "README.md").read_text(encoding="utf-8")
        assert f"\n| `{message}` |" in guide

    def test_the_client_batch_fits(self, batching):
        with TranslationClient("localhost", "en-fr", protocol="rest") as client:
            assert client.batch_size <= batching.max_batch_size.value

    def test_monitoring(self, manifests):
        config = parse("monitoring.config", MonitoringConfig()).prometheus_config
        assert config.enable
        notes = manifests["Deployment", "translation"]["spec"]["template"]["metadata"]
        assert notes["annotations"]["prometheus.io/path"] == config.path
        assert config.path in (EXPORT / "README.md").read_text(encoding="utf-8")

    @pytest.mark.parametrize("text", ["max_batch_sise { value: 1 }", "max_batch_size: 32"])
    def test_mistakes_are_found(self, text):
        with pytest.raises(text_format.ParseError):
            text_format.Parse(text, BatchingParameters())


class TestCompose:
    def test_the_image_is_pinned_and_the_same_everywhere(self, service, container, kserve):
        [version] = IMAGE.fullmatch(service["image"]).groups()
        assert container["image"] == service["image"]
        assert str(kserve["spec"]["predictor"]["model"]["runtimeVersion"]) == version

    def test_flags(self, service, batching):
        options = flags(service["command"])
        assert service["entrypoint"] == ["/usr/bin/tensorflow_model_server"]
        assert (options["port"], options["rest_api_port"]) == ("8500", "8501")
        assert options["allow_version_labels_for_unavailable_models"] == "true"
        assert options["enable_batching"] == "true"
        processors = service["deploy"]["resources"]["limits"]["cpus"]
        assert options["tensorflow_intra_op_parallelism"] == processors
        assert options["tensorflow_inter_op_parallelism"] == processors
        assert str(batching.num_batch_threads.value) == processors
        # Mutually exclusive with the two flags above.
        assert "tensorflow_session_parallelism" not in options
        assert service["environment"]["LC_ALL"] == "C.UTF-8"

    def test_mounted_files_exist(self, service, model):
        mounts = {}
        for volume in service["volumes"]:
            source, target, mode = volume.split(":")
            assert mode == "ro"
            mounts[target] = (EXPORT / source).resolve()
        for name, value in flags(service["command"]).items():
            if name.endswith("_file"):
                [folder] = [target for target in mounts if value.startswith(f"{target}/")]
                assert (mounts[folder] / value.removeprefix(f"{folder}/")).is_file()
        assert mounts[str(Path(model.base_path).parent)] == EXPORT / "models"

    def test_ports_are_bound_to_localhost(self, service):
        assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]

    def test_privileges(self, service):
        assert service["user"] == "1000:1000"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
        assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()

    def test_the_limit_on_threads_leaves_room_for_two_models_on_64_processors(self, service):
        # Measured peaks with one model: 274 threads on 2 processors, 522 on 64.
        def peak(processors, models):
            return 256 * models + 9 * processors

        assert peak(2, 1) == 274
        assert peak(64, 1) >= 522
        assert service["deploy"]["resources"]["limits"]["pids"] >= peak(64, 2)

    def test_the_server_is_stopped_by_a_signal(self, service):
        # As process 1, a program without a handler for SIGTERM ignores it.
        assert service["init"] is True

    def test_health_check(self, service, model):
        """Run it with the local bash against a fake server."""
        form, *command = service["healthcheck"]["test"]
        assert form == "CMD"
        if shutil.which(command[0]) is None:
            pytest.skip("bash is not installed")
        models = Models(model.name, {1: None}, {})
        server, address = start_rest(models)
        command[-1] = command[-1].replace("127.0.0.1/8501", address.replace(":", "/"))
        assert address.replace(":", "/") in command[-1]

        def status():
            return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode

        assert status() == 0
        models.versions.clear()
        assert status() != 0, "the server has no version of the model"
        server.shutdown()
        server.server_close()
        assert status() != 0, "there is no server"


class TestKubernetes:
    def test_flags_equal_those_of_compose(self, service, container):
        assert flags(container["args"]) == flags(service["command"])
        assert container["command"] == service["entrypoint"]
        assert {"name": "LC_ALL", "value": "C.UTF-8"} in container["env"]

    def test_probes(self, container, model):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"grpc": 8500, "http": 8501}
        for probe in ("startupProbe", "readinessProbe"):
            assert container[probe]["httpGet"] == {
                "path": f"/v1/models/{model.name}",
                "port": "http",
            }
        config = parse("monitoring.config", MonitoringConfig()).prometheus_config
        assert container["livenessProbe"]["httpGet"] == {"path": config.path, "port": "http"}

    def test_privileges(self, manifests, container):
        pod = manifests["Deployment", "translation"]["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"].keys() == {"requests", "limits"}

    def test_volumes(self, manifests, container, model):
        pod = manifests["Deployment", "translation"]["spec"]["template"]["spec"]
        mounted = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert mounted.keys() == {"/models", "/etc/tfserving", "/tmp"}
        assert mounted["/models"]["readOnly"]
        assert str(Path(model.base_path).parent) in mounted
        assert {volume["name"] for volume in pod["volumes"]} == {
            mount["name"] for mount in mounted.values()
        }

    def test_models_are_copied_to_the_volume_that_the_server_reads(
        self, manifests, container, guide
    ):
        text = (EXPORT / "kubernetes" / "models.yaml").read_text(encoding="utf-8")
        claim, copier = yaml.safe_load_all(text)
        pod = manifests["Deployment", "translation"]["spec"]["template"]["spec"]
        [volume] = [volume for volume in pod["volumes"] if volume["name"] == "models"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert copier["spec"]["volumes"] == [
            {"name": "models", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
        ]
        # The server's pods, at least two of them, may run on different nodes.
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
        security = copier["spec"]["securityContext"]
        assert security["runAsUser"] == security["fsGroup"] == pod["securityContext"]["runAsUser"]
        [copying] = copier["spec"]["containers"]
        assert copying["image"] == container["image"]
        assert copying["securityContext"] == container["securityContext"]
        [destination] = re.findall(
            r"^kubectl cp models/en-fr copy-models:(\S+)$", guide, re.MULTILINE
        )
        assert destination == "/models/en-fr"
        assert copying["volumeMounts"] == [{"name": "models", "mountPath": "/models"}]
        assert copier["metadata"]["labels"] != {"app.kubernetes.io/name": "translation"}

    def test_selectors_match_the_pods(self, manifests):
        labels = {"app.kubernetes.io/name": "translation"}
        deployment = manifests["Deployment", "translation"]["spec"]
        assert deployment["template"]["metadata"]["labels"] == labels
        assert deployment["selector"]["matchLabels"] == labels
        for name in ("translation", "translation-pods"):
            assert manifests["Service", name]["spec"]["selector"] == labels
        assert manifests["Service", "translation-pods"]["spec"]["clusterIP"] == "None"
        scaler = manifests["HorizontalPodAutoscaler", "translation"]["spec"]
        assert scaler["scaleTargetRef"]["name"] == "translation"
        assert "replicas" not in deployment, "the autoscaler sets them"

    def test_kserve(self, kserve, model):
        assert kserve["metadata"]["name"] == model.name
        served = kserve["spec"]["predictor"]["model"]
        assert served["storageUri"].endswith(f"/{model.name}")
        assert served["readinessProbe"]["httpGet"]["path"] == f"/v1/models/{model.name}"
        assert {"name": "LC_ALL", "value": "C.UTF-8"} in served["env"]
        assert served["securityContext"]["runAsNonRoot"] is True


def test_renaming_the_model(tmp_path):
    guide = (EXPORT / "README.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^sed -i .*$", guide, re.MULTILINE)
    folder = tmp_path / "export"
    shutil.copytree(EXPORT, folder, ignore=shutil.ignore_patterns("models"))
    subprocess.run(command.replace("NAME", "de-en"), shell=True, cwd=folder, check=True)
    files = [folder / "models.config", folder / "docker-compose.yml", *folder.glob("*/*.yaml")]
    for file in files:
        before = (EXPORT / file.relative_to(folder)).read_text(encoding="utf-8")
        assert file.read_text(encoding="utf-8") == before.replace("en-fr", "de-en")


def test_the_notebook_has_the_same_configuration(model):
    notebook = json.loads((ROOT / "notebooks" / "03_serving.ipynb").read_text(encoding="utf-8"))
    shown = [
        "".join(line for output in cell.get("outputs", ()) for line in output.get("text", ()))
        for cell in notebook["cells"]
    ]
    text = next(text for text in shown if text.startswith("model_config_list"))
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert list(config.model_config_list.config) == [model]


def test_exports_are_ignored_by_git():
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git working tree")
    ignored = ["export/models/en-fr/1/saved_model.pb", "export/serving.protoset"]
    command = ["git", "check-ignore", *ignored]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.stdout.splitlines() == ignored


@pytest.fixture(scope="module")
def guide():
    return (EXPORT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def models(exports):
    with SavedModelSession(exports / "1") as session:
        yield Models("en-fr", {1: session}, {"stable": 1, "canary": 1})


class TestGuide:
    """The requests of README.md, sent to a fake server."""

    def test_curl(self, guide, models):
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        commands = re.findall(r"^curl -s http://localhost:8501(?:.*\\\n)*.*$", guide, re.MULTILINE)
        assert len(commands) >= 6
        server, address = start_rest(models)
        answers = []
        for command in commands:
            if "/monitoring/" not in command:
                local = command.replace("localhost:8501", address)
                done = subprocess.run(local, shell=True, capture_output=True, check=True)
                answers.append(json.loads(done.stdout))
        server.shutdown()
        server.server_close()
        rows, columns, scores, status, metadata = answers
        assert len(rows["predictions"]) == 2
        outputs = {"translation", "score", "num_tokens", "confidence", "num_unknown"}
        assert rows["predictions"][0].keys() == outputs
        texts = [row["translation"] for row in rows["predictions"]]
        assert columns["outputs"]["translation"] == texts
        assert scores["predictions"][0].keys() == {"score", "num_tokens"}
        assert status["model_version_status"][0]["state"] == "AVAILABLE"
        assert "signature_def" in metadata["metadata"]

    def test_grpcurl(self, guide, models, tmp_path):
        """Send what grpcurl would send, with the protocol that `protoset.py` writes."""
        import grpc

        protoset = tmp_path / "serving.protoset"
        subprocess.run(
            [sys.executable, EXPORT / "protoset.py", protoset], check=True, capture_output=True
        )
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(protoset.read_bytes()).file:
            pool.Add(file)
        calls = re.findall(r"-d '([^']*)' \\\n *localhost:8500 (\S+)/(\S+)", guide)
        assert [method for _, _, method in calls] == ["Predict", "GetModelStatus"]
        server, address = start_grpc(models)
        answers = []
        with grpc.insecure_channel(address) as channel:
            for body, service, method in calls:
                descriptor = pool.FindServiceByName(service).FindMethodByName(method)
                request = message_factory.GetMessageClass(descriptor.input_type)()
                json_format.Parse(body, request)
                answers.append(
                    channel.unary_unary(
                        f"/{service}/{method}",
                        request_serializer=lambda message: message.SerializeToString(),
                        response_deserializer=message_factory.GetMessageClass(
                            descriptor.output_type
                        ).FromString,
                    )(request, timeout=10)
                )
        server.stop(None)
        translations = answers[0].outputs["translation"].string_val
        expected = models.versions[1].run(text=["Go.", "I won!"])["translation"]
        assert list(translations) == expected.tolist()
        assert answers[1].model_version_status[0].version == 1

    def test_python(self, guide, models, capsys):
        [code] = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
        server, address = start_grpc(models)
        exec(code.replace("localhost:8500", address), {})
        server.stop(None)
        assert "ScoredPair" in capsys.readouterr().out

    def test_the_first_rollout_step_is_valid(self, guide):
        [step] = re.findall(
            r"^```\n( +model_version_policy.*?)^```$", guide, re.MULTILINE | re.DOTALL
        )
        model = text_format.Parse(step, model_server_config_pb2.ModelConfig())
        assert list(model.model_version_policy.specific.versions) == [1, 2]
        assert dict(model.version_labels) == {"stable": 1, "canary": 1}

    def test_names_match_the_files(self, guide, service, manifests):
        for name, port in (("translation", 8501), ("translation-pods", 8500)):
            ports = manifests["Service", name]["spec"]["ports"]
            assert port in [entry["port"] for entry in ports]
            assert f"{name}:{port}`" in guide
        pod = manifests["Deployment", "translation"]["spec"]["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["config"]["configMap"]["name"] in guide
        assert volumes["models"]["persistentVolumeClaim"]["claimName"] in guide
        for file in re.findall(r"--from-file=(\S+)", guide):
            assert (EXPORT / file).is_file()
        for option in re.findall(r"keras_s2s\.client .*", guide):
            assert "--rest" in option or ":8501" not in option


def test_the_protocol_is_the_official_one():
    assert load_serving_api().predict_pb2.DESCRIPTOR.package == "tensorflow.serving"
