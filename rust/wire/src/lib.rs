//! The local wire: frame header, TLV area, codec. No I/O.
