//! Lock order: warns about an order of acquisition that could deadlock though it did not.
