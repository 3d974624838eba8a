"""Layers: encoder, decoder, attention and the recurrent stack that both sides share.

The state is `[h, c]`, each (num_layers, batch, num_hiddens), from encoder to decoder to search.
The LSTM kernels (`fused_lstm`, `packed_lstm`) are faster on CPUs than `keras.layers.LSTM`.
"""

from keras_s2s.layers.attention import Attention
from keras_s2s.layers.seq2seq_decoder import Seq2SeqDecoder
from keras_s2s.layers.seq2seq_encoder import Seq2SeqEncoder
from keras_s2s.layers.stacked_rnn import StackedRNN

__all__ = ["Attention", "Seq2SeqDecoder", "Seq2SeqEncoder", "StackedRNN"]
