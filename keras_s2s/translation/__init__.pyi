from .exported_translator import ExportedTranslator as ExportedTranslator
from .file_translation import translate_file as translate_file
from .translator import Translator as Translator
